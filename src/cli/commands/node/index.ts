/** `openclaw node …` */
import type { Command } from "commander";
import type { Context } from "../../context.ts";
import { defineGroup } from "../../globals.ts";
import { installCommand } from "./install.ts";
import { restartCommand } from "./restart.ts";
import { runCommand } from "./run.ts";
import { startCommand } from "./start.ts";
import { statusCommand } from "./status.ts";
import { stopCommand } from "./stop.ts";
import { uninstallCommand } from "./uninstall.ts";

export function nodeCommand(context: Context, verb?: string): Command {
  return defineGroup(
    context,
    verb,
    "node",
    "let this machine serve a gateway as a node",
    [
      "openclaw node run --host 127.0.0.1 --port 18790 --token-file token",
      "openclaw node install --host 127.0.0.1 --port 18790 --token-file token",
    ],
    {
      run: runCommand,
      status: statusCommand,
      install: installCommand,
      start: startCommand,
      stop: stopCommand,
      restart: restartCommand,
      uninstall: uninstallCommand,
    },
  );
}
