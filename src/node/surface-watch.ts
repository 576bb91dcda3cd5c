/** The second approval, seen from the node. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { type EventFrame, isObject } from "../protocol/frame.ts";
import type { SurfaceAnswer } from "./ask-surface.ts";

/** The second approval came with this version of the protocol. */
const firstProtocol = 4;

/** Where the second approval stands: told in hello-ok by gateways of ours, by events afterwards; others have to be asked. */
export class SurfaceWatch {
  requestId: string | undefined;
  commands: readonly string[];
  /** Set when a person said no: `: reason`, or empty. */
  rejection: string | undefined;
  /** Who approved the device, and its command list: told by gateways of ours. */
  readonly deviceApprovedBy: string | undefined;
  surfaceApprovedBy: string | undefined;
  /** False until the gateway was asked, where hello-ok said nothing. */
  isKnown: boolean;
  readonly #declared: readonly string[];
  #misses = 0;

  constructor({ hello }: Pick<GatewaySession, "hello">, declared: readonly string[]) {
    this.#declared = declared;
    const told = hello.snapshot["node"];
    const state = isObject(told) ? told : {};
    this.isKnown = isObject(told) || hello.protocol < firstProtocol;
    this.requestId = typeof state["requestId"] === "string" ? state["requestId"] : undefined;
    const commands = state["commands"];
    this.deviceApprovedBy = nameIn(state, "approvedBy");
    this.surfaceApprovedBy = nameIn(state, "surfaceApprovedBy");
    this.commands = Array.isArray(commands) ? commands.filter((command) => typeof command === "string") : declared;
  }

  /** True while the node can be asked something. */
  get isReady(): boolean {
    return this.isKnown && (this.requestId === undefined || this.commands.length > 0);
  }

  /** Takes an event in; true when it changed something. */
  hear({ event, payload }: EventFrame): boolean {
    if (event !== "node.pair.resolved" || !isObject(payload)) return false;
    if (payload["decision"] === "approved") {
      this.isKnown = true;
      this.requestId = undefined;
      this.surfaceApprovedBy = nameIn(payload, "by");
      this.commands = Array.isArray(payload["commands"]) ? payload["commands"].map(String) : this.#declared;
      return true;
    }
    if (payload["decision"] !== "rejected" || payload["requestId"] !== this.requestId) return false;
    this.rejection = typeof payload["reason"] === "string" ? `: ${payload["reason"]}` : "";
    return true;
  }

  /** Takes an answer in. It takes back no approval that an event told meanwhile, and one that says nothing changes nothing. */
  learn(answer: SurfaceAnswer): void {
    if (this.isReady || (this.isKnown && answer.kind === "unknown")) return;
    switch (answer.kind) {
      case "approved":
      case "unknown":
        this.isKnown = true;
        this.requestId = undefined;
        this.commands = this.#declared;
        return;
      case "pending":
        this.isKnown = true;
        this.requestId = answer.requestId;
        this.commands = [];
        this.#misses = 0;
        return;
      case "later":
        return;
      case "none":
        // Once may be the moment between an approval and its event; a request that stays gone was rejected.
        if (this.requestId !== undefined && ++this.#misses > 1) this.rejection = "";
    }
  }
}

/** A name is shown in a terminal: a gateway's word for it is taken only without control characters. */
function nameIn(values: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const name = values[key];
  return typeof name === "string" && !/[\0-\x1f\x7f-\x9f]/u.test(name) ? name : undefined;
}
