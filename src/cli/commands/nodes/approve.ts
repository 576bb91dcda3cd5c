/** `openclaw nodes approve` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { findRequest, newestRequest, showSurfaceRequest, unconfirmed } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { list } from "../../human.ts";
import { asPairingOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

interface Flags extends TargetFlags {
  readonly latest?: boolean;
  readonly yes?: boolean;
}

export function approveCommand(context: Context): Command {
  return withTarget(
    defineCommand("approve", "approve a node's command list; it can be invoked at once", [
      "openclaw nodes approve 8d31f0aa",
    ])
      .argument("[request]", "request id, node id or name; without one the newest request is shown")
      .option("--latest", "the newest request")
      .option("--yes", "approve the newest request without looking at it first"),
  ).action(async (wanted: string | undefined, flags: Flags) => {
    const approved = await asPairingOperator(context, flags, async (session) => {
      const pending = (await session.call("node.pair.list", {})).pending.map(showSurfaceRequest);
      const request =
        wanted === undefined
          ? newestRequest(pending, "openclaw nodes pending")
          : findRequest(wanted, pending, "openclaw nodes pending");
      if (wanted === undefined && flags.yes !== true)
        throw unconfirmed(request, `openclaw nodes approve ${request.requestId}`);
      return session.call("node.pair.approve", { requestId: request.requestId });
    });
    context.output.result(
      approved,
      ({ node }) => `Approved for ${node.displayName ?? node.nodeId}: ${list(node.commands)}`,
    );
  });
}
