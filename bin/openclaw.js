#!/usr/bin/env node
// Starts the CLI on a Node.js that can run it. Old syntax on purpose: an old Node.js must be able to read this file. CommonJS (see
// package.json beside it), because that starts in fewer milliseconds.
"use strict";
const { existsSync } = require("fs");
const path = require("path");

const minimum = [24, 16];
const [major, minor] = process.versions.node.split(".").map(Number);
const isNewEnough = major > minimum[0] || (major === minimum[0] && minor >= minimum[1]);

if (isNewEnough) {
  const source = path.join(__dirname, "../src/cli/main.ts");
  if (existsSync(source)) void import(require("url").pathToFileURL(source).href).then(({ main }) => main());
  else void require("../dist/command/main.cjs").main();
} else {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const binary = process.platform === "win32" ? "node.exe" : "node";
  const runtime = path.join(__dirname, "../node_modules/node-" + platform + "-" + process.arch + "/bin/" + binary);
  if (existsSync(runtime)) restartOn(runtime);
  else {
    const wanted = minimum.join(".");
    process.stderr.write(
      "openclaw: needs Node.js " +
        wanted +
        " or newer, and this is " +
        process.versions.node +
        "\n" +
        "hint: install Node.js 24, then run the same command again\n",
    );
    process.exitCode = 69; // EX_UNAVAILABLE, sysexits.h
  }
}

function restartOn(runtime) {
  // Nobody can pass SIGKILL on: a pipe does, whose end of ours the system closes however we end. The child reads file descriptor 3.
  const child = require("child_process").spawn(runtime, [__filename].concat(process.argv.slice(2)), {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: Object.assign({}, process.env, { OPENCLAW_LAUNCHER_FD: "3" }),
  });
  const line = child.stdio && child.stdio[3]; // none when the system has no descriptor left
  if (line) line.on("error", () => {}).unref();
  // A terminal sends Ctrl-C to the whole foreground group, so the child has it already; anyone else signals only us.
  const forwarded = process.stdin.isTTY ? ["SIGTERM", "SIGHUP"] : ["SIGTERM", "SIGHUP", "SIGINT"];
  for (const signal of forwarded) process.on(signal, () => child.kill(signal));
  if (process.stdin.isTTY) process.on("SIGINT", () => {});
  child.on("error", (error) => {
    process.stderr.write("openclaw: cannot start " + runtime + ": " + error.message + "\n");
    process.exitCode = 69;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = code === null ? 128 + require("os").constants.signals[signal] : code;
  });
}
