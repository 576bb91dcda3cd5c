/** `--params`: JSON on the command line, in a file, or on stdin. */
import { OpenClawError, systemCode } from "../errors.ts";
import type { Context } from "./context.ts";

/** Undefined when the option was not given. */
export async function readParams(context: Context, given: string | undefined): Promise<unknown> {
  if (given === undefined) return undefined;
  const { text, from } = await readSource(context, given);
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The parser's own words quote the text, and what was read by mistake may be a secret.
    throw new OpenClawError("usage", `--params: ${from} is not JSON`, {
      hint: `quote it for the shell: --params '{"bins":["git"]}'`,
      cause,
    });
  }
}

async function readSource(context: Context, given: string): Promise<{ readonly text: string; readonly from: string }> {
  if (given === "-") return { text: await context.readStdin("--params"), from: "stdin" };
  if (!given.startsWith("@")) return { text: given, from: "what was given" };
  const path = given.slice(1);
  const { readFile } = await import("node:fs/promises");
  try {
    return { text: await readFile(path, "utf8"), from: path };
  } catch (cause) {
    throw new OpenClawError("usage", `--params: cannot read ${path} (${systemCode(cause) ?? String(cause)})`, {
      cause,
    });
  }
}
