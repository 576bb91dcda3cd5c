/** `openclaw tunnel …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { checkCommand } from "./check.ts";
import { closeCommand } from "./close.ts";
import { drillCommand } from "./drill.ts";
import { inspectCommand } from "./inspect.ts";
import { keyCommand } from "./key.ts";
import { listCommand } from "./list.ts";
import { logsCommand } from "./logs.ts";
import { openCommand } from "./open.ts";
import { reopenCommand } from "./reopen.ts";

export function tunnelCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "tunnel",
    "keep SSH port forwards alive",
    ["openclaw tunnel open me@cloud.example -R 18790:127.0.0.1:18789", "openclaw tunnel list"],
    {
      open: openCommand,
      list: listCommand,
      inspect: inspectCommand,
      check: checkCommand,
      reopen: reopenCommand,
      close: closeCommand,
      logs: logsCommand,
      key: keyCommand,
      drill: drillCommand,
    },
  );
}
