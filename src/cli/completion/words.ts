/** What can stand where on the command line, read off the command tree itself. */
import type { Command } from "commander";
import { globalOptions } from "../globals.ts";

export interface Place {
  /** The words before: empty for the program, `devices rotate` for a command. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly { readonly flag: string; readonly summary: string }[];
}

/** Every place of the tree, the program first. Options that all commands take stand at each of them. */
export function wordsOf(program: Command): readonly Place[] {
  const places: Place[] = [];
  const visit = (command: Command, path: readonly string[]): void => {
    places.push({ path: path.join(" "), commands: childrenOf(command), options: optionsOf(command) });
    for (const child of command.commands) visit(child, [...path, child.name()]);
  };
  visit(program, []);
  return places;
}

function childrenOf(command: Command): Place["commands"] {
  return command.commands.map((child) => ({ name: child.name(), summary: child.description() }));
}

function optionsOf(command: Command): Place["options"] {
  const own = command.options.filter(({ hidden }) => !hidden);
  const flags = own.map(({ long, short, description }) => ({ flag: long ?? short ?? "", summary: description }));
  const globals = globalOptions.map(([text, summary]) => ({ flag: /--[a-z-]+/u.exec(text)?.[0] ?? text, summary }));
  const all = [...flags, ...globals, { flag: "--help", summary: "show help" }];
  return all.filter(({ flag }, at) => all.findIndex((other) => other.flag === flag) === at);
}
