/**
 * What a command that goes into the background and the one that started it say to each other, in lines of JSON over a pipe that only they
 * have. So nothing that a person types stands in an argument or a variable.
 */
import type { ForwardRow } from "../tunnel/forward.ts";

/** Environment variable with the pipe's file descriptor in the process that goes into the background. */
export const detachVariable = "OPENCLAW_DETACH_FD";
export const detachFd = 3;
export const maxDetachLineBytes = 4 * 1024 * 1024;

/** A question for the person at the terminal; `stdin` asks for all that stands on standard input. */
export type DetachQuestion =
  | { readonly kind: "secret" | "text"; readonly message: string }
  | { readonly kind: "stdin" };

/** A tunnel that is up: what the command that stays in the foreground answers with. */
export interface StartedTunnel {
  readonly name: string;
  readonly pid: number;
  readonly forwards: readonly ForwardRow[];
  /** What the command has to say besides, as its JSON document. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** From the one that starts: first its settings, then answers, and in the end that the other may go on alone. */
export type ToBackground =
  | { readonly settings: { readonly name: string; readonly canAsk: boolean } }
  /** Base64 of the input for `stdin`; a cancelled question has no answer. */
  | { readonly answer: { readonly id: number; readonly text?: string } }
  | { readonly letGo: true };

/** From the one in the background: lines of its output, questions, and that it is ready. */
export type FromBackground =
  | { readonly out: string }
  | { readonly talk: string }
  | { readonly question: DetachQuestion & { readonly id: number } }
  | { readonly ready: StartedTunnel };
