/** `openclaw config …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { getCommand } from "./get.ts";
import { listCommand } from "./list.ts";
import { pathCommand } from "./path.ts";
import { setCommand } from "./set.ts";
import { unsetCommand } from "./unset.ts";
import { validateCommand } from "./validate.ts";

export function configCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "config",
    "read and change the configuration",
    ["openclaw config get gateway.bind", "openclaw config set gateway.port 18800"],
    {
      get: getCommand,
      set: setCommand,
      unset: unsetCommand,
      list: listCommand,
      path: pathCommand,
      validate: validateCommand,
    },
  );
}
