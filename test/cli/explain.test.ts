import { expect, test } from "vitest";
import { exitCodes } from "../../src/cli/exit-codes.ts";
import { failureCodes } from "../../src/cli/failure-codes.ts";
import { CliHome } from "../support/run-cli.ts";

test("without a code all of them are listed, each with its exit code", async () => {
  using home = new CliHome();
  const { code, json, stdout } = await home.run("explain --json");
  expect({ code, json }).toMatchObject({ code: 0, json: { ok: true } });
  for (const name of Object.keys(failureCodes)) expect(stdout).toContain(`"code":"${name}"`);
  const table = await home.run("explain");
  for (const [name, { exit }] of Object.entries(failureCodes)) {
    expect(table.stdout).toMatch(new RegExp(`^${name} +${exitCodes[exit]} `, "mu"));
  }
});

test.each(Object.keys(failureCodes))("%s is explained: what it is, what causes it, what to type", async (code) => {
  using home = new CliHome();
  expect(await home.run(`explain ${code} --json`)).toMatchObject({
    code: 0,
    json: {
      ok: true,
      code,
      exitCode: expect.any(Number),
      meaning: expect.stringMatching(/./u),
      causes: expect.stringMatching(/./u),
      fix: expect.stringMatching(/./u),
    },
  });
  expect((await home.run(`explain ${code}`)).stdout).toContain(`${code} (exit `);
});

test("on a narrow terminal the codes stay whole", async () => {
  using home = new CliHome();
  const { stdout } = await home.run("explain", { columns: 60 });
  expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(60);
  for (const name of Object.keys(failureCodes)) expect(stdout).toContain(name);
});
