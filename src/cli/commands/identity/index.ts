/** `openclaw identity …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { createCommand } from "./create.ts";
import { importCommand } from "./import.ts";
import { listCommand } from "./list.ts";
import { moveCommand } from "./move.ts";
import { rotateCommand } from "./rotate.ts";
import { showCommand } from "./show.ts";

export function identityCommand(context: Context, verb?: string): Command {
  return defineGroup(context, verb, "identity", "the key that this machine is known by", ["openclaw identity show"], {
    show: showCommand,
    list: listCommand,
    create: createCommand,
    import: importCommand,
    move: moveCommand,
    rotate: rotateCommand,
  });
}
