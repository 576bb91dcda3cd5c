import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { formatEnvFile, parseEnvFile, readEnvFile, secretVariables, withSecrets } from "../../src/config/env-file.ts";

const directory = mkdtempSync(join(tmpdir(), "env-file-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(text: string, mode = 0o600): string {
  const path = join(directory, "secrets.env");
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test("what is written is read again, whatever the secrets are", () => {
  const variables = fc.dictionary(fc.constantFrom(...secretVariables), fc.string({ unit: "binary" }));
  fc.assert(
    fc.property(variables, (given) => {
      expect(parseEnvFile(formatEnvFile(given), "x")).toEqual({ ...given });
    }),
  );
});

test.each<[what: string, line: string, value: string]>([
  ["a plain value", "OPENCLAW_GATEWAY_TOKEN=abc=d", "abc=d"],
  ["blanks around it", "  OPENCLAW_GATEWAY_TOKEN = abc  ", "abc"],
  ["a value with blanks, quotes and a number sign in it", `OPENCLAW_GATEWAY_TOKEN=a "b" #c`, `a "b" #c`],
  ["a JSON string", String.raw`OPENCLAW_GATEWAY_TOKEN="a\nb\"c"`, 'a\nb"c'],
  ["single quotes", String.raw`OPENCLAW_GATEWAY_TOKEN=' a\n"b" '`, String.raw` a\n"b" `],
  ["an empty value", "OPENCLAW_GATEWAY_TOKEN=", ""],
  ["a carriage return at the end of the line", "OPENCLAW_GATEWAY_TOKEN=abc\r", "abc"],
])("%s", (_what, line, value) => {
  expect(parseEnvFile(`# a comment\n\n${line}\n`, "x")).toEqual({ OPENCLAW_GATEWAY_TOKEN: value });
});

test.each<[what: string, text: string, message: RegExp]>([
  ["another variable", "PATH=hunter2", /^line 1 of x names no variable/u],
  ["no assignment", "hunter2", /^line 1 of x names no variable/u],
  ["an open quote", '\nOPENCLAW_GATEWAY_TOKEN="hunter2', /^line 2 of x has a value for OPENCLAW_GATEWAY_TOKEN/u],
  ["one quote alone", "OPENCLAW_GATEWAY_TOKEN='", /not closed/u],
  ["a variable twice", "CF_ACCESS_CLIENT_ID=hunter2\nCF_ACCESS_CLIENT_ID=b", /^line 2 of x gives CF_ACCESS_CLIENT_ID/u],
])("%s is refused without being repeated", (_what, text, message) => {
  const failed = () => parseEnvFile(text, "x");
  expect(failed).toThrow(expect.objectContaining({ code: "usage", message: expect.stringMatching(message) }));
  expect(failed).not.toThrow(/hunter2/u);
});

test.each([0o640, 0o604, 0o622])("a file of mode %o is not read", async (mode) => {
  const path = file("OPENCLAW_GATEWAY_TOKEN=abc", mode);
  await expect(readEnvFile(path)).rejects.toMatchObject({ code: "usage", fix: `chmod 600 ${path}` });
});

test("a file for its owner alone is read; one that is missing, a directory or too long is not", async () => {
  await expect(readEnvFile(file("OPENCLAW_GATEWAY_TOKEN=abc"))).resolves.toEqual({ OPENCLAW_GATEWAY_TOKEN: "abc" });
  await expect(readEnvFile(join(directory, "nowhere"))).rejects.toMatchObject({ code: "usage" });
  chmodSync(directory, 0o700);
  await expect(readEnvFile(directory)).rejects.toMatchObject({ code: "usage" });
  await expect(readEnvFile(file("#".repeat(600 * 1024)))).rejects.toMatchObject({ code: "usage" });
});

test("only the file says which secrets there are", () => {
  const env = { PATH: "/bin", OPENCLAW_GATEWAY_TOKEN: "stale", CF_ACCESS_CLIENT_ID: "stale" };
  expect(withSecrets(env, { OPENCLAW_GATEWAY_TOKEN: "new" })).toMatchObject({
    PATH: "/bin",
    OPENCLAW_GATEWAY_TOKEN: "new",
    CF_ACCESS_CLIENT_ID: undefined,
  });
});
