/** The second approval, seen from the node. */
import type { GatewaySession } from "../client/gateway-session.ts";
import { type EventFrame, isObject } from "../protocol/frame.ts";

/** Where the second approval stands: told in hello-ok by gateways of ours, by events afterwards. */
export class SurfaceWatch {
  requestId: string | undefined;
  commands: readonly string[];
  /** Set when a person said no: `: reason`, or empty. */
  rejection: string | undefined;
  readonly #declared: readonly string[];

  constructor({ hello }: GatewaySession, declared: readonly string[]) {
    this.#declared = declared;
    const state = isObject(hello.snapshot["node"]) ? hello.snapshot["node"] : {};
    this.requestId = typeof state["requestId"] === "string" ? state["requestId"] : undefined;
    const commands = state["commands"];
    this.commands = Array.isArray(commands) ? commands.filter((command) => typeof command === "string") : declared;
  }

  /** True while the node can be asked something. */
  get isReady(): boolean {
    return this.requestId === undefined || this.commands.length > 0;
  }

  /** Takes an event in; true when it changed something. */
  hear({ event, payload }: EventFrame): boolean {
    if (event !== "node.pair.resolved" || !isObject(payload)) return false;
    if (payload["decision"] === "approved") {
      this.requestId = undefined;
      this.commands = Array.isArray(payload["commands"]) ? payload["commands"].map(String) : this.#declared;
      return true;
    }
    if (payload["decision"] !== "rejected" || payload["requestId"] !== this.requestId) return false;
    this.rejection = typeof payload["reason"] === "string" ? `: ${payload["reason"]}` : "";
    return true;
  }
}
