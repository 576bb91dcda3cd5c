/** `openclaw security …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { auditCommand } from "./audit.ts";

export function securityCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "security",
    "find what is unsafe in the configuration and the state",
    ["openclaw security audit"],
    { audit: auditCommand },
  );
}
