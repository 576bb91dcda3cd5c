/** The command that two mistyped words were probably meant to be, wherever in the tree it stands: `node list` is `nodes list`. */
import type { Command } from "commander";
import { editDistance } from "../config/nearest.ts";
import type { Context } from "./context.ts";
import { buildWholeProgram, commandWords } from "./program.ts";

/** The words of the nearest command (`nodes list`), or undefined when none is near in both of them. */
export async function suggestCommand(context: Context, argv: readonly string[]): Promise<string | undefined> {
  const [group, verb] = commandWords(argv);
  if (group === undefined || verb === undefined) return undefined;
  const near = pathsOf(await buildWholeProgram(context))
    .filter((path) => isNear(group, path.group) && isNear(verb, path.verb))
    .toSorted((a, b) => edits(a) - edits(b));
  return near[0] === undefined ? undefined : `${near[0].group} ${near[0].verb}`;

  function edits(path: CommandPath): number {
    return editDistance(group ?? "", path.group) + editDistance(verb ?? "", path.verb);
  }
}

interface CommandPath {
  readonly group: string;
  readonly verb: string;
}

function pathsOf(program: Command): readonly CommandPath[] {
  return program.commands.flatMap((group) =>
    group.commands.flatMap((command) =>
      [command.name(), ...command.aliases()].map((verb) => ({ group: group.name(), verb })),
    ),
  );
}

/** Within a third of the letters, and at least one. */
function isNear(typed: string, known: string): boolean {
  return editDistance(typed, known) <= Math.max(1, Math.floor(typed.length / 3));
}
