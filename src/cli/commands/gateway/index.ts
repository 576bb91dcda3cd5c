/** `openclaw gateway …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { explainCommand } from "./explain.ts";
import { runCommand } from "./run.ts";
import { statusCommand } from "./status.ts";
import { tokenCommand } from "./token.ts";

export function gatewayCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "gateway",
    "run a gateway, and see how one is doing",
    ["openclaw gateway run", "openclaw gateway status --url ws://127.0.0.1:18789"],
    { run: runCommand, status: statusCommand, token: tokenCommand, explain: explainCommand },
  );
}
