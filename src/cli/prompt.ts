/** Questions to the person at the terminal; where there is nobody to ask, the command says which option would have answered. */
import { Writable } from "node:stream";
import type { Context } from "./context.ts";

/** The question's answer, or undefined when it was turned away: Ctrl-C ends the command too. Only to be called when `context.canAsk`. */
export async function askSecret(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  return starter === undefined ? ask(context, message, { isHidden: true }) : starter.ask({ kind: "secret", message });
}

/** As `askSecret`, for answers that may be seen while they are typed. */
export async function askText(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  return starter === undefined ? ask(context, message, { isHidden: false }) : starter.ask({ kind: "text", message });
}

/** True only for a clear yes. */
export async function askYesNo(context: Context, message: string): Promise<boolean> {
  const answer = await askText(context, `${message} (yes/no)`);
  return isYes(answer ?? "");
}

export function isYes(answer: string): boolean {
  return /^y(?:es)?$/i.test(answer.trim());
}

/** Questions are talk: they go to stderr. A whole line is the answer, so that a key pressed by chance is none. */
async function ask(
  { streams: { stdin, stderr }, options: { signal, interrupt } }: Context,
  message: string,
  { isHidden }: { readonly isHidden: boolean },
): Promise<string | undefined> {
  if (signal.aborted) return undefined;
  const { createInterface } = await import("node:readline/promises");
  const output = isHidden ? new Writable({ write: (_chunk, _encoding, done) => done() }) : stderr;
  const lines = createInterface({ input: stdin, output, terminal: true, historySize: 0 });
  const { promise: turnedAway, resolve } = Promise.withResolvers<undefined>();
  // A terminal that gives every key at once makes no signal of Ctrl-C: it is passed on as one.
  lines.once("SIGINT", () => {
    interrupt?.("SIGINT");
    resolve(undefined);
  });
  lines.once("close", () => resolve(undefined));
  const question = `${message}: `;
  if (isHidden) stderr.write(question);
  let answer: string | undefined;
  try {
    answer = await Promise.race([lines.question(isHidden ? "" : question, { signal }), turnedAway]);
    return answer;
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  } finally {
    lines.close();
    if (isHidden || answer === undefined) stderr.write("\n");
  }
}
