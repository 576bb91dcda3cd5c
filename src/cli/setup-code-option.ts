/** Setup codes on the command line: where they are read from, and what is wrong with them. */
import { read } from "../config/environment.ts";
import { OpenClawError } from "../errors.ts";
import { isExpired, readSetupCode, type SetupCode } from "../protocol/setup-code.ts";
import { Secret } from "../secret.ts";
import type { Context } from "./context.ts";
import { ago } from "./human.ts";

/** A code as an argument, or asked for at a terminal. Missing, unreadable and damaged ones are `usage`. */
export async function readCodeArgument(
  context: Context,
  text: string | undefined,
  file: string | undefined,
): Promise<SetupCode> {
  if (text !== undefined && file !== undefined) {
    throw new OpenClawError("usage", "the code is given twice", {
      hint: "give it as the argument or with --code-file",
    });
  }
  if (text !== undefined && text !== "-") {
    context.noteOnce("argv-code", "warning: other users of this machine can read a code in argv; use --code-file");
    return codeIn(new Secret(text), "the code");
  }
  const given = await context.secretFile(text ?? file, "--code-file");
  if (given !== undefined) return codeIn(given, "--code-file");
  const { askSecret } = await import("./prompt.ts");
  const typed = context.canAsk ? await askSecret(context, "Paste the code, or its oc-pair:// link") : undefined;
  if (typed !== undefined) return codeIn(new Secret(typed), "the code");
  throw new OpenClawError("usage", "the code is missing", {
    hint: "paste the code or its oc-pair:// link; or name a file that holds it with --code-file, - for standard input",
  });
}

/** The code of `--pair` or `--pair-file`, else that in the environment; undefined when there is none. */
export async function readPairOption(
  context: Context,
  { pair, pairFile }: { readonly pair?: string; readonly pairFile?: string },
): Promise<SetupCode | undefined> {
  const inEnvironment = read(context.options.env, "OPENCLAW_PAIR_CODE");
  if (pair === undefined && pairFile === undefined && inEnvironment !== undefined) {
    return codeIn(new Secret(inEnvironment), "OPENCLAW_PAIR_CODE");
  }
  const given =
    pair === "-" && pairFile === undefined
      ? await context.secretFile(pair, "--pair-file")
      : await context.secretOption("pair", pair, pairFile);
  return given === undefined ? undefined : codeIn(given, pairFile === undefined ? "--pair" : "--pair-file");
}

/** `bootstrap-invalid` for a code whose time is over by this machine's clock: it need not be shown to anybody. */
export function assertNotExpired(code: SetupCode, nowMs: number): void {
  if (!isExpired(code, nowMs)) return;
  throw new OpenClawError(
    "bootstrap-invalid",
    `the code expired ${ago(code.expiresAtMs, nowMs)}, by this machine's clock`,
    {
      hint: "have a new one made on the gateway's host: openclaw pair invite",
      details: { expiresAtMs: code.expiresAtMs, url: code.url },
    },
  );
}

function codeIn(given: Secret, where: string): SetupCode {
  const found = readSetupCode(given.reveal());
  if ("code" in found) return found.code;
  throw new OpenClawError("usage", `${where}: ${found.problem}`, {
    hint: "an invite is made with openclaw pair invite on the gateway's host",
  });
}
