/** Tokens, environment variables and `~` in the paths of an ssh_config (ssh_config(5), TOKENS). */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { OpenClawError } from "../errors.ts";
import type { HostConfig } from "./ssh-config.ts";

/** This machine and the person who uses it. */
export interface LocalFacts {
  readonly home: string;
  readonly user: string;
  readonly uid: number;
  readonly hostName: string;
  /** For `${NAME}`. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Expands one path of the configuration of a host. Throws `usage` for a token or a variable that is not known. */
export function expandPath(text: string, host: HostConfig, local: LocalFacts): string {
  const port = String(host.port ?? 22);
  const values: Readonly<Record<string, string>> = {
    "%": "%",
    C: createHash("sha1").update(`${local.hostName}${host.hostName}${port}${host.user}`).digest("hex"),
    d: local.home,
    h: host.hostName,
    i: String(local.uid),
    k: host.hostKeyAlias ?? host.host,
    L: local.hostName.split(".")[0] ?? "",
    l: local.hostName,
    n: host.host,
    p: port,
    r: host.user,
    u: local.user,
  };
  const path = text === "~" ? local.home : text.startsWith("~/") ? join(local.home, text.slice(2)) : text;
  return path.replaceAll(/%(.?)|\$\{([^}]*)\}/g, (token, letter: string | undefined, name = "") => {
    const value = letter === undefined ? local.env[name] : Object.hasOwn(values, letter) ? values[letter] : undefined;
    if (value !== undefined) return value;
    const problem = letter === undefined ? "is not set" : "is not a token that is known here";
    throw new OpenClawError("usage", `${token} in the SSH configuration's "${text}" ${problem}`);
  });
}
