/** `openclaw completion` */
import { Argument, type Command } from "commander";
import { scripts, type Shell, shells } from "../completion/scripts.ts";
import { wordsOf } from "../completion/words.ts";
import type { Context } from "../context.ts";
import { defineCommand } from "../globals.ts";

export function completionCommand(context: Context, wholeProgram: (context: Context) => Promise<Command>): Command {
  return defineCommand("completion", "print a completion script for a shell", [
    "openclaw completion bash > ~/.local/share/bash-completion/completions/openclaw",
    "openclaw completion zsh > ~/.zfunc/_openclaw",
  ])
    .addArgument(new Argument("<shell>", "bash, zsh, fish or powershell").choices(shells))
    .action(async (shell: Shell) => {
      const script = scripts[shell](wordsOf(await wholeProgram(context)));
      if (context.output.options.json) context.output.result({ shell, script }, () => "");
      else context.output.raw(script);
    });
}
