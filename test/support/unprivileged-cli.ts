/** Runs a command line as a user without rights and prints how it ended. Run: node unprivileged-cli.ts <home> <word>…. */
import { runCli } from "./run-cli.ts";

const [home = "", ...words] = process.argv.slice(2);
if (process.getuid?.() === 0) {
  process.setgid?.(65_534);
  process.setuid?.(65_534);
}
process.stdout.write(JSON.stringify(await runCli(words, { env: { HOME: home } })));
