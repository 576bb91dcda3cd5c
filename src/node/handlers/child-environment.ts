/** The environment of what a node runs: the node's own, without its credentials. */
import { delimiter } from "node:path";
import { pathDirectories } from "./find-program.ts";

/**
 * The node's environment with the caller's variables on top. Our credentials stay here. PATH is the one programs were looked
 * up in, without relative entries: a child must not find its helpers in a directory that the caller chose.
 */
export function childEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  pathEnv: string,
  overrides: Readonly<Record<string, string>>,
): Record<string, string> {
  const inherited = Object.entries(own).flatMap(([name, value]): [string, string][] =>
    value === undefined || isOwnCredential(name) || name.toUpperCase() === "PATH" ? [] : [[name, value]],
  );
  const path = pathDirectories(pathEnv).join(delimiter);
  return Object.fromEntries([...inherited, ["PATH", path], ...Object.entries(overrides)]);
}

/** True for the variables we take credentials from. */
function isOwnCredential(name: string): boolean {
  return /^(?:OPENCLAW_.*(?:TOKEN|PASSWORD|PASSPHRASE|HEADER|SECRET|CODE|KEY)|CF_ACCESS_)/iu.test(name);
}
