/** `openclaw tunnel …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { openCommand } from "./open.ts";

export function tunnelCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "tunnel",
    "keep SSH port forwards alive",
    ["openclaw tunnel open me@cloud.example -R 18791:127.0.0.1:18789"],
    { open: openCommand },
  );
}
