/** Listens for signals as the CLI does, says when the first one was heard, and does not end by itself. Run: node unwilling.ts. */
import { listenForSignals } from "../../src/cli/signals.ts";

const { signal } = listenForSignals(process);
signal.addEventListener("abort", () => process.stdout.write("heard\n"));
setInterval(() => {}, 60_000);
process.stdout.write("up\n");
