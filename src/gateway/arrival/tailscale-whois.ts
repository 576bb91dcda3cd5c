/** Who of a tailnet has an address: asked of the `tailscale` program, whose answer is kept for a moment. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { TailscaleFacts } from "../../pairing/vouched.ts";
import { isObject } from "../../protocol/frame.ts";
import type { Runtime } from "../../runtime.ts";
import type { Whois } from "./vouching.ts";

const run = promisify(execFile);
const answerMs = 5_000;
const keptMs = 30_000;
const maxKept = 256;

/** `command` gets the address as its last argument, and answers as `tailscale whois --json` does. */
export function whoisBy(command: readonly string[], runtime: Runtime): Whois {
  const known = new Map<string, { readonly atMs: number; readonly answer: TailscaleFacts["whois"] }>();
  return async (address) => {
    const kept = known.get(address);
    if (kept !== undefined && runtime.now() - kept.atMs < keptMs) return kept.answer;
    const answer = await ask(command, address);
    // What could not be asked may be asked again at once.
    if (answer !== "unavailable") known.set(address, { atMs: runtime.now(), answer });
    const [oldest] = known.keys();
    if (known.size > maxKept && oldest !== undefined) known.delete(oldest);
    return answer;
  };
}

async function ask([program = "", ...args]: readonly string[], address: string): Promise<TailscaleFacts["whois"]> {
  let text: string;
  try {
    ({ stdout: text } = await run(program, [...args, address], { timeout: answerMs, maxBuffer: 1 << 20 }));
  } catch (error) {
    // A program that ran and said no knows the address not; one that is not there, or hangs, has said nothing.
    return error instanceof Error && "code" in error && typeof error.code === "number" ? "unknown" : "unavailable";
  }
  try {
    const answer: unknown = JSON.parse(text);
    const profile = isObject(answer) && isObject(answer["UserProfile"]) ? answer["UserProfile"] : {};
    const login = profile["LoginName"];
    return typeof login === "string" && login !== "" ? { login } : "unknown";
  } catch {
    return "unavailable";
  }
}
