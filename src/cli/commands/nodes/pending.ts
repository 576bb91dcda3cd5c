/** `openclaw nodes pending` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { showSurfaceRequest } from "../../device-directory.ts";
import { defineCommand } from "../../globals.ts";
import { ago, list } from "../../human.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function pendingCommand(context: Context): Command {
  return withTarget(
    defineCommand("pending", "command lists of nodes that wait for approval", ["openclaw nodes pending"]),
  ).action(async (flags: TargetFlags) => {
    const { pending, paired } = await asOperator(context, flags, ["operator.pairing"], (session) =>
      session.call("node.pair.list", {}),
    );
    context.output.result({ pending: pending.map(showSurfaceRequest), paired }, (value) => {
      if (value.pending.length === 0) return "No command list waits for approval.";
      const columns = ["REQUEST", "NODE", "NAME", "ASKED", "COMMANDS"].map((title) => ({
        title,
        keep: title === "REQUEST" || title === "NODE",
      }));
      const rows = value.pending.map((request) => [
        request.requestId,
        request.fingerprint,
        request.displayName ?? request.clientId,
        ago(request.ts, context.runtime.now()),
        list(request.commands),
      ]);
      return context.output.table(columns, rows);
    });
  });
}
