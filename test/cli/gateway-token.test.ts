import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { digest } from "../../src/secret.ts";
import { CliHome } from "../support/run-cli.ts";
import { type GatewayHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

test("the digest stands for the token", async () => {
  const { token, tokenFile } = home;
  expect(await home.run("gateway token")).toMatchObject({
    code: 0,
    stdout: `${digest(token)} (${tokenFile})\n`,
    stderr: "",
  });
  const { code, json, stdout } = await home.run("gateway token --json");
  expect({ code, json }).toEqual({
    code: 0,
    json: { ok: true, digest: digest(token), source: tokenFile, rotated: false },
  });
  expect(stdout).not.toContain(token);
});

test("--show prints the token and nothing else, for use in a pipe", async () => {
  const { token } = home;
  expect(await home.run("gateway token --show")).toMatchObject({ code: 0, stdout: `${token}\n`, stderr: "" });
  expect(await home.run("gateway token --show --json")).toMatchObject({
    code: 0,
    json: { token, digest: digest(token) },
  });
});

test("before the first start there is none", async () => {
  using empty = new CliHome();
  expect(await empty.run("gateway token --json")).toMatchObject({
    code: 9,
    json: { ok: false, error: { code: "not-found", fix: "openclaw gateway run" } },
  });
});

test("--rotate makes a new one, which holds from the next start", async () => {
  await using own = await startGatewayHome();
  const before = own.token;
  const rotated = await own.run("gateway token --rotate --json");
  expect(rotated).toMatchObject({ code: 0, json: { ok: true, rotated: true, digest: digest(own.token) } });
  expect(own.token).not.toBe(before);
  expect(rotated.stderr).toContain("keeps the old token until it is started again");
  const [old, fresh] = [own.path("old"), own.path("fresh")];
  writeFileSync(old, before);
  writeFileSync(fresh, own.token);
  expect(await own.ask(`gateway status --token-file ${old}`)).toMatchObject({ code: 0 });
  await own.gateway.stop();
  await using again = own.start("gateway run --port 0 --json");
  const { port } = await again.event("ready");
  expect(await own.run(`gateway status --port ${String(port)} --token-file ${fresh}`)).toMatchObject({ code: 0 });
  expect(await own.run(`gateway status --port ${String(port)} --token-file ${old}`)).toMatchObject({ code: 4 });
});

test("a token from the configuration is named as such, and is not rotated", async () => {
  using configured = new CliHome();
  await configured.run("config set gateway.auth.token --value-file -", { stdin: "from-the-file\n" });
  const before = readFileSync(configured.path(".openclaw/toolkit/config.json5"), "utf8");
  expect(await configured.run("gateway token --json")).toMatchObject({
    json: { source: "configuration", digest: digest("from-the-file") },
  });
  expect(await configured.run("gateway token --rotate --json")).toMatchObject({
    code: 9,
    json: { error: { code: "conflict" } },
  });
  expect(readFileSync(configured.path(".openclaw/toolkit/config.json5"), "utf8")).toBe(before);
});
