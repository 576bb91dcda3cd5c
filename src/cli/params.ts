/** `--params`: JSON on the command line, in a file, or on stdin. */
import { OpenClawError } from "../errors.ts";
import type { Context } from "./context.ts";

/** Undefined when the option was not given. */
export async function readParams(context: Context, given: string | undefined): Promise<unknown> {
  if (given === undefined) return undefined;
  const { text, from } = await readSource(context, given);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new OpenClawError("usage", `--params: ${from} is not JSON: ${(cause as Error).message}`, {
      hint: `quote it for the shell: --params '{"bins":["git"]}'`,
      cause,
    });
  }
}

async function readSource(context: Context, given: string): Promise<{ readonly text: string; readonly from: string }> {
  if (given === "-") return { text: await context.readStdin(), from: "stdin" };
  if (!given.startsWith("@")) return { text: given, from: "what was given" };
  const path = given.slice(1);
  const { readTextFile } = await import("../store/atomic-file.ts");
  const text = await readTextFile(path);
  if (text === undefined) throw new OpenClawError("usage", `--params: there is no file ${path}`);
  return { text, from: path };
}
