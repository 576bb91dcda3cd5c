/** `openclaw nodes …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { approveCommand } from "./approve.ts";
import { describeCommand } from "./describe.ts";
import { invokeCommand } from "./invoke.ts";
import { listCommand } from "./list.ts";
import { pendingCommand } from "./pending.ts";
import { rejectCommand } from "./reject.ts";
import { renameCommand } from "./rename.ts";

export function nodesCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "nodes",
    "see nodes, approve what they may do, and invoke them",
    ["openclaw nodes list", `openclaw nodes invoke kitchen system.which --params '{"bins":["git"]}'`],
    {
      list: listCommand,
      describe: describeCommand,
      pending: pendingCommand,
      approve: approveCommand,
      reject: rejectCommand,
      invoke: invokeCommand,
      rename: renameCommand,
    },
  );
}
