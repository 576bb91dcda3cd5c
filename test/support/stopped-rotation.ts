/** Runs `identity rotate` in the given home, and is killed when it says that it has come to the given step. */
import { PassThrough, Writable } from "node:stream";
import { runCli } from "../../src/cli/main.ts";

const [, , home = "", step = ""] = process.argv;
const stderr = new Writable({
  decodeStrings: false,
  write(chunk: unknown, _encoding, done) {
    if (String(chunk).includes(`step=${step}`)) process.kill(process.pid, "SIGKILL");
    done();
  },
});
process.exitCode = await runCli(["identity", "rotate", "--json", "--debug"], {
  env: { PATH: process.env["PATH"], HOME: home },
  streams: { stdin: new PassThrough(), stdout: process.stdout, stderr },
  signal: new AbortController().signal,
});
