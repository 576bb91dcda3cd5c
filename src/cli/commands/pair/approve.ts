/** `openclaw pair approve` */
import type { Command } from "commander";
import type { GatewaySession } from "../../../client/gateway-session.ts";
import { OpenClawError } from "../../../errors.ts";
import { fingerprint } from "../../../identity/fingerprint.ts";
import { formatPairingCode, type PairingCode } from "../../../protocol/pairing-code.ts";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { asOperator, asPairingOperator } from "../../operator.ts";
import { approveRequest, listPending, type PendingRequest } from "../../pending-requests.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly surface?: boolean;
  readonly latest?: boolean;
  readonly yes?: boolean;
}

interface Approved {
  readonly requestId: string;
  readonly deviceId: string;
  readonly layer: PendingRequest["layer"];
  readonly displayName?: string;
  readonly role?: string;
  readonly scopes?: readonly string[];
  readonly sas?: PairingCode;
  /** What the node can be asked, where its command list was approved too. */
  readonly commands?: readonly string[];
}

/** How often we look whether the node has come back with its command list. */
const pollMs = 250;

export function approveCommand(context: Context): Command {
  return withTarget(
    defineCommand("approve", "approve a request of either layer", [
      "openclaw pair approve 3f2a91c4",
      "openclaw pair approve 482913",
      "openclaw pair approve 3f2a91c4 --surface",
    ])
      .argument("[request]", "its code, request id, device id or name; without one the newest request is shown")
      .option("--surface", "also approve the command list that follows, and return when the node can be invoked")
      .option("--latest", "the newest request")
      .option("--yes", "approve the newest request without looking at it first"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const { chooseRequest, requestsOf } = await import("../../choose-request.ts");
    const approve = async (session: GatewaySession): Promise<Approved> => {
      const request = await chooseRequest(
        requestsOf(session),
        { pending: await listPending(session), group: "pair" },
        wanted,
        flags,
      );
      const deviceId = await approveRequest(session, request);
      const base = { requestId: request.requestId, deviceId, layer: request.layer, ...whatOf(request) };
      const isNode = request.layer === "device" && request.role === "node";
      if (flags.surface !== true || !isNode) return base;
      return { ...base, commands: await approveSurface(context, session, deviceId) };
    };
    // What a node may be asked takes admin in any case, and two approvals cannot be tried again as one.
    const approved =
      flags.surface === true
        ? await asOperator(context, flags, ["operator.pairing", "operator.admin"], approve)
        : await asPairingOperator(context, flags, approve);
    context.output.result(approved, describe);
  });
}

/** What was approved, as it stood in the request. */
function whatOf(request: PendingRequest): Pick<Approved, "displayName" | "role" | "scopes" | "sas"> {
  const name = request.displayName === undefined ? {} : { displayName: request.displayName };
  if (request.layer === "surface") return name;
  const { role, scopes, sas } = request;
  return { ...name, role, scopes, ...(sas === undefined ? {} : { sas }) };
}

function describe({ layer, deviceId, displayName, role, scopes = [], sas, commands }: Approved): string {
  const who = displayName === undefined ? fingerprint(deviceId) : `${displayName} (${fingerprint(deviceId)})`;
  const what = layer === "surface" ? "its command list" : [role, ...scopes].join(", ");
  return [
    `Approved ${who}: ${what}`,
    ...(sas === undefined ? [] : [`  code  ${formatPairingCode(sas)}; the same stands on its terminal`]),
    ...(commands === undefined ? [] : [`  it can be invoked: ${commands.join(", ")}`]),
  ].join("\n");
}

/** Waits for the node to come back, approves what it offers, and resolves with what it can be asked. */
async function approveSurface(context: Context, session: GatewaySession, nodeId: string): Promise<readonly string[]> {
  const signal = context.oneShotSignal;
  for (;;) {
    const waiting = (await listPending(session)).find(
      (request) => request.layer === "surface" && request.deviceId === nodeId,
    );
    if (waiting !== undefined) await approveRequest(session, waiting);
    const { nodes } = await session.call("node.list", {});
    const node = nodes.find((other) => other.nodeId === nodeId);
    if (node?.connected === true && node.commands.length > 0) return node.commands;
    try {
      await context.runtime.sleep(pollMs, signal);
    } catch (cause) {
      if (context.options.signal.aborted) throw cause;
      throw new OpenClawError("node-offline", "the device is approved, but the node did not come back in time", {
        hint: "start it there (openclaw node run); its command list then waits for approval",
        fix: "openclaw nodes pending",
        details: { deviceId: nodeId },
        cause,
      });
    }
  }
}
