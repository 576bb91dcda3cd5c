/** The options that name a tunnel's forwards, written once, and what they come to. */
import type { Command } from "commander";
import { OpenClawError } from "../errors.ts";
import type { ForwardSpec } from "../ssh/destination.ts";
import { collect } from "./globals.ts";

export interface ForwardFlags {
  readonly remoteForward?: readonly string[];
  readonly localForward?: readonly string[];
}

export function addForwardOptions(command: Command): Command {
  return command
    .option(
      "-R, --remote-forward <forward>",
      "[bind:]port:host:hostport, listening on the server; port 0 lets it choose; repeatable",
      collect,
    )
    .option("-L, --local-forward <forward>", "[bind:]port:host:hostport, listening here; repeatable", collect);
}

function listensWith(one: ForwardSpec, other: ForwardSpec): boolean {
  return one.port !== 0 && one.port === other.port && one.bind === other.bind && one.direction === other.direction;
}

/** The forwards, remote ones first. Throws `usage` for one that cannot be read, when two listen on one port, and when there is none. */
export async function readForwards({ remoteForward = [], localForward = [] }: ForwardFlags): Promise<ForwardSpec[]> {
  const { bracketed, parseForward } = await import("../ssh/destination.ts");
  const forwards = [
    ...remoteForward.map((text) => parseForward("remote", text)),
    ...localForward.map((text) => parseForward("local", text)),
  ];
  const twice = forwards.find((one, index) => forwards.slice(0, index).some((other) => listensWith(one, other)));
  if (twice !== undefined) {
    throw new OpenClawError(
      "usage",
      `two forwards listen on ${bracketed(twice.bind)}:${twice.port} on ${twice.direction === "remote" ? "the server" : "this machine"}`,
      {
        hint: "a port leads to one target: give the other one a port of its own",
      },
    );
  }
  if (forwards.length > 0) return forwards;
  throw new OpenClawError("usage", "a tunnel needs a forward", { hint: "name one with -R or -L" });
}
