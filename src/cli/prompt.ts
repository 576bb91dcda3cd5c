/** Questions to the person at the terminal; where there is nobody to ask, the command says which option would have answered. */
import type { Context } from "./context.ts";

/** The question's answer, or undefined when it was turned away with Ctrl-C. Only to be called when `context.canAsk`. */
export async function askSecret(context: Context, message: string): Promise<string | undefined> {
  const { isCancel, password } = await import("@clack/prompts");
  const answer = await password({ message, ...streamsOf(context) });
  return isCancel(answer) ? undefined : answer;
}

/** True only for a clear yes. */
export async function askYesNo(context: Context, message: string): Promise<boolean> {
  const { confirm, isCancel } = await import("@clack/prompts");
  const answer = await confirm({ message, initialValue: false, ...streamsOf(context) });
  return !isCancel(answer) && answer;
}

/** Prompts are talk: they go to stderr. */
function streamsOf({ streams }: Context) {
  return { output: streams.stderr };
}
