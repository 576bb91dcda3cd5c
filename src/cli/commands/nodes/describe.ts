/** `openclaw nodes describe` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { ago, list } from "../../human.ts";
import { findNodeId, oneNode, showNode } from "../../node-directory.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function describeCommand(context: Context): Command {
  return withTarget(
    defineCommand("describe", "everything the gateway knows about a node", ["openclaw nodes describe kitchen"])
      .argument("[node]", "node id, prefix or name")
      .option("--node <node>", "the same, as an option"),
  ).action(async (wanted: string | undefined, flags: TargetFlags & { readonly node?: string }) => {
    const named = oneNode(wanted, flags.node);
    const node = await asOperator(context, flags, ["operator.read"], async (session) => {
      const nodeId = await findNodeId(session, named);
      return session.call("node.describe", { nodeId });
    });
    context.output.result({ ...showNode(node), ts: node.ts }, (shown) =>
      [
        `${shown.displayName} (${shown.nodeId})`,
        `  platform    ${shown.platform ?? "unknown"} ${shown.deviceFamily ?? ""}`.trimEnd(),
        `  connected   ${shown.connected ? `yes, since ${ago(shown.connectedAtMs, shown.ts)}` : `no, last seen ${ago(shown.lastSeenAtMs, shown.ts)}`}`,
        `  approval    ${shown.approvalState ?? "unknown"}`,
        `  from        ${shown.remoteIp ?? "unknown"}`,
        `  caps        ${list(shown.caps)}`,
        `  commands    ${list(shown.commands)}`,
      ].join("\n"),
    );
  });
}
