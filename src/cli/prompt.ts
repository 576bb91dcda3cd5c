/** Questions to the person at the terminal; where there is nobody to ask, the command says which option would have answered. */
import type { Context } from "./context.ts";

/** The question's answer, or undefined when it was turned away with Ctrl-C, which ends the command. Only to be called when `context.canAsk`. */
export async function askSecret(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  if (starter !== undefined) return starter.ask({ kind: "secret", message });
  const { password } = await import("@clack/prompts");
  return unlessCancelled<string>(context, await password({ message, ...streamsOf(context) }));
}

/** As `askSecret`, for answers that may be seen while they are typed. */
export async function askText(context: Context, message: string): Promise<string | undefined> {
  const { starter } = context.options;
  if (starter !== undefined) return starter.ask({ kind: "text", message });
  const { text } = await import("@clack/prompts");
  return unlessCancelled<string>(context, await text({ message, ...streamsOf(context) }));
}

/** True only for a clear yes. */
export async function askYesNo(context: Context, message: string): Promise<boolean> {
  const { starter } = context.options;
  if (starter !== undefined) return (await starter.ask({ kind: "yesNo", message })) !== undefined;
  const { confirm } = await import("@clack/prompts");
  const answer = await confirm({ message, initialValue: false, ...streamsOf(context) });
  return unlessCancelled<boolean>(context, answer) ?? false;
}

/** A terminal in raw mode makes no signal of Ctrl-C: it is passed on as one. */
function unlessCancelled<Answer>({ options: { interrupt } }: Context, answer: Answer | symbol): Answer | undefined {
  if (typeof answer !== "symbol") return answer;
  interrupt?.("SIGINT");
  return undefined;
}

/** Prompts are talk: they go to stderr. */
function streamsOf({ streams }: Context) {
  return { output: streams.stderr };
}
