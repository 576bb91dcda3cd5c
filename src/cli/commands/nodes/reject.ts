/** `openclaw nodes reject` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findRequest, showSurfaceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { asPairingOperator } from "../../operator.ts";
import { rejection } from "../../rejection.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function rejectCommand(context: Context): Command {
  return withTarget(
    defineCommand("reject", "turn a node's command list down", [
      "openclaw nodes reject 8d31f0aa --reason 'no system.run here'",
    ])
      .argument("<request>", "request id, node id or name")
      .option("--reason <text>", "told to the node"),
  ).action(async (wanted: string, flags: TargetFlags & { readonly reason?: string }) => {
    const rejected = await asPairingOperator(context, flags, async (session) => {
      const pending = (await session.call("node.pair.list", {})).pending.map(showSurfaceRequest);
      const { requestId } = findRequest(wanted, pending, "openclaw nodes pending");
      return session.call("node.pair.reject", rejection(session, requestId, flags.reason));
    });
    context.output.result(rejected, ({ requestId }) => `Rejected request ${requestId}`);
  });
}
