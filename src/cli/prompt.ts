/** Questions to the person at the terminal; where there is nobody to ask, the command says which option would have answered. */
import type { Context } from "./context.ts";

/** The question's answer, or undefined when it was turned away with Ctrl-C. Only to be called when `context.canAsk`. */
export async function askSecret(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  if (starter !== undefined) return starter.ask({ kind: "secret", message });
  const { isCancel, password } = await import("@clack/prompts");
  const answer = await password({ message, ...streamsOf(context) });
  return isCancel(answer) ? undefined : answer;
}

/** As `askSecret`, for answers that may be seen while they are typed. */
export async function askText(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  if (starter !== undefined) return starter.ask({ kind: "text", message });
  const { isCancel, text } = await import("@clack/prompts");
  const answer = await text({ message, ...streamsOf(context) });
  return isCancel(answer) ? undefined : answer;
}

/** True only for a clear yes. */
export async function askYesNo(context: Context, message: string): Promise<boolean> {
  const { starter } = context.options;
  if (starter !== undefined) return (await starter.ask({ kind: "yesNo", message })) !== undefined;
  const { confirm, isCancel } = await import("@clack/prompts");
  const answer = await confirm({ message, initialValue: false, ...streamsOf(context) });
  return !isCancel(answer) && answer;
}

/** Prompts are talk: they go to stderr. */
function streamsOf({ streams }: Context) {
  return { output: streams.stderr };
}
