/** A file with the secrets of a command that is started by a program: our variables, one a line, for nobody else to read. */
import { open } from "node:fs/promises";
import { OpenClawError, systemCode } from "../errors.ts";
import { shellWord } from "../shell-word.ts";
import type { Environment } from "./environment.ts";

/** The variables that may stand in such a file, and count only there when a command is given one. */
export const secretVariables = [
  "OPENCLAW_GATEWAY_TOKEN",
  "OPENCLAW_GATEWAY_PASSWORD",
  "OPENCLAW_GATEWAY_HEADERS",
  "CF_ACCESS_CLIENT_ID",
  "CF_ACCESS_CLIENT_SECRET",
  "OPENCLAW_PAIR_CODE",
] as const;

type SecretVariable = (typeof secretVariables)[number];
export type SecretVariables = Readonly<Partial<Record<SecretVariable, string>>>;

/** Bytes such a file may have: the longest secrets are 64 KiB. */
const maxBytes = 512 * 1024;

/** The text of a file with these variables. */
export function formatEnvFile(variables: SecretVariables): string {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [
    '# Secrets of an openclaw service, written by openclaw node install. NAME=value, or NAME="JSON string".',
    ...lines,
    "",
  ].join("\n");
}

/**
 * The variables in a text: `NAME=value` to the end of the line, or a JSON string in double quotes, or in single quotes the very text. Empty
 * lines and those that begin with `#` say nothing. Everything else is `usage`, which names the line and repeats no value.
 */
export function parseEnvFile(text: string, path: string): SecretVariables {
  const found: Partial<Record<SecretVariable, string>> = {};
  for (const [index, line] of text.split(/\r?\n/u).entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const at = trimmed.indexOf("=");
    const name = secretVariables.find((known) => known === trimmed.slice(0, Math.max(at, 0)).trim());
    const value = name === undefined ? undefined : valueIn(trimmed.slice(at + 1).trim());
    if (name === undefined)
      throw problem(path, index, "names no variable that may stand there", secretVariables.join(", "));
    if (value === undefined)
      throw problem(path, index, `has a value for ${name} that is not closed`, 'write NAME="a JSON string"');
    if (name in found) throw problem(path, index, `gives ${name} a second time`, "keep one of them");
    found[name] = value;
  }
  return found;
}

/** Reads such a file. `usage` when it is not there, is not one, or is open to other users (chmod(2)). */
export async function readEnvFile(path: string): Promise<SecretVariables> {
  return parseEnvFile(await readPrivateText(path), path);
}

/** An environment in which the file alone says which of these variables there are. */
export function withSecrets(env: Environment, variables: SecretVariables): Environment {
  return { ...env, ...Object.fromEntries(secretVariables.map((name) => [name, variables[name]])) };
}

async function readPrivateText(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { mode, uid, size } = await file.stat();
    const user = process.getuid?.();
    if (user !== undefined && (mode & 0o077) !== 0) {
      throw new OpenClawError("usage", `other users can open the environment file ${path}`, {
        hint: "a file with secrets is for its owner alone",
        fix: `chmod 600 ${shellWord(path)}`,
        details: { path, mode: (mode & 0o777).toString(8).padStart(4, "0") },
      });
    }
    if (user !== undefined && uid !== user && uid !== 0) {
      throw new OpenClawError("usage", `the environment file ${path} belongs to another user`, { details: { path } });
    }
    if (size > maxBytes) throw new OpenClawError("usage", `${path} is too long to be an environment file`);
    return await file.readFile("utf8");
  } catch (cause) {
    if (cause instanceof OpenClawError) throw cause;
    throw new OpenClawError(
      "usage",
      `cannot read the environment file ${path} (${systemCode(cause) ?? String(cause)})`,
      {
        hint: "check the path, and that this user may read the file",
        details: { path },
        cause,
      },
    );
  }
}

function valueIn(text: string): string | undefined {
  if (text.startsWith('"')) {
    try {
      const value: unknown = JSON.parse(text);
      return typeof value === "string" ? value : undefined;
    } catch {
      return undefined;
    }
  }
  if (!text.startsWith("'")) return text;
  return text.length > 1 && text.endsWith("'") ? text.slice(1, -1) : undefined;
}

function problem(path: string, index: number, says: string, hint: string): OpenClawError {
  return new OpenClawError("usage", `line ${index + 1} of ${path} ${says}`, {
    hint,
    details: { path, line: index + 1 },
  });
}
