/** `openclaw nodes list`, also known as `nodes status` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { list } from "../../human.ts";
import { showNode } from "../../node-directory.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function listCommand(context: Context): Command {
  return withTarget(
    defineCommand("list", "nodes of a gateway, and whether they are connected", ["openclaw nodes list --json"]).alias(
      "status",
    ),
  ).action(async (flags: TargetFlags) => {
    const { nodes, ts } = await asOperator(context, flags, ["operator.read"], (session) =>
      session.call("node.list", {}),
    );
    context.output.result({ nodes: nodes.map(showNode), ts }, (value) => {
      if (value.nodes.length === 0) return "No nodes are paired.";
      const columns = ["NODE", "NAME", "PLATFORM", "CONNECTED", "COMMANDS"].map((title) => ({
        title,
        keep: title === "NODE",
      }));
      const rows = value.nodes.map((node) => [
        node.nodeId,
        node.displayName,
        node.platform ?? "",
        node.connected ? "yes" : "no",
        node.approvalState === "pending" ? "wait for approval" : list(node.commands),
      ]);
      return context.output.table(columns, rows);
    });
  });
}
