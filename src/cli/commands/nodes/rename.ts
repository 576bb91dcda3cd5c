/** `openclaw nodes rename` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineCommand } from "../../globals.ts";
import { findNodeId } from "../../node-directory.ts";
import { asOperator } from "../../operator.ts";
import { type TargetFlags, withTarget } from "../../target-options.ts";

export function renameCommand(context: Context): Command {
  return withTarget(
    defineCommand("rename", "give a node a name that people know it by", ["openclaw nodes rename 3f2a91c4 kitchen"])
      .argument("<node>", "node id, prefix or name")
      .argument("<name>", "the new name, at most 64 characters"),
  ).action(async (wanted: string, name: string, flags: TargetFlags) => {
    const renamed = await asOperator(context, flags, ["operator.pairing", "operator.read"], async (session) => {
      const nodeId = await findNodeId(session, wanted);
      return session.call("node.rename", { nodeId, displayName: name });
    });
    context.output.result(renamed, ({ nodeId, displayName }) => `Renamed ${nodeId} to ${displayName}`);
  });
}
