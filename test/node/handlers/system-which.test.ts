import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { startNode } from "./node.ts";
import { temporaryDirectory, writeScript } from "./processes.ts";

describe("system.which", () => {
  test("answers only what is found", async () => {
    expect(await startNode().invoke("system.which", { bins: ["uname", "no-such-bin"] })).toEqual({
      bins: { uname: "/usr/bin/uname" },
    });
  });

  test("finds executable files, the first directory first", async () => {
    using directory = temporaryDirectory();
    const [first, second] = [join(directory.path, "first"), join(directory.path, "second")];
    for (const path of [first, second]) mkdirSync(path);
    writeScript(join(second, "both"), "");
    writeScript(join(first, "both"), "");
    writeScript(join(second, "only"), "");
    mkdirSync(join(first, "only")); // a directory is no program
    writeFileSync(join(first, "data"), "");
    chmodSync(join(first, "data"), 0o644);
    const node = startNode({ pathEnv: `${first}:${second}` });
    expect(await node.invoke("system.which", { bins: ["both", "only", "data"] })).toEqual({
      bins: { both: join(first, "both"), only: join(second, "only") },
    });
  });

  test("takes names only: no path is looked up", async () => {
    const bins = ["/usr/bin/uname", "../bin/uname", "./uname", "", ".", "..", "~/uname"];
    expect(await startNode({ cwd: "/usr/bin" }).invoke("system.which", { bins })).toEqual({ bins: {} });
  });

  test("skips relative and empty entries of PATH", async () => {
    expect(
      await startNode({ pathEnv: "::.:usr/bin", cwd: "/" }).invoke("system.which", { bins: ["uname", "bin"] }),
    ).toEqual({ bins: {} });
  });

  test.each<[name: string, params: unknown, text: string]>([
    ["no params", undefined, "bins required"],
    ["no bins", {}, "bins required"],
    ["one string", { bins: "uname" }, "bins must be an array of names"],
    ["a number", { bins: [1] }, "bins.0 must be a string"],
    ["too many", { bins: Array.from({ length: 201 }, () => "x") }, "bins must not have more than 200 names"],
    ["a name that is too long", { bins: ["x".repeat(256)] }, "bins.0 must not be longer than 255"],
  ])("%s: INVALID_REQUEST", async (_name, params, text) => {
    await expect(startNode().invoke("system.which", params)).rejects.toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringContaining(text),
    });
  });

  test("a name like a property of all objects is just a name", async () => {
    expect(await startNode().invoke("system.which", { bins: ["__proto__", "constructor"] })).toEqual({ bins: {} });
  });
});
