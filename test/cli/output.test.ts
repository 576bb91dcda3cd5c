import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { ago } from "../../src/cli/human.ts";
import { describeFailure } from "../../src/cli/failure.ts";
import { exitCodes } from "../../src/cli/exit-codes.ts";
import { failureCodes } from "../../src/cli/failure-codes.ts";
import { textLog } from "../../src/cli/log.ts";
import { formatTable } from "../../src/cli/output.ts";
import { Secret } from "../../src/secret.ts";

describe("tables", () => {
  const columns = [{ title: "ID", keep: true }, { title: "NAME" }, { title: "NOTE" }];
  const cell = fc.string({ maxLength: 40 }).map((text) => text.replaceAll(/\s/gu, "x"));
  const rows = fc.array(fc.tuple(fc.stringMatching(/^[0-9a-f]{8,64}$/u), cell, cell), { maxLength: 8 });

  test("columns are aligned, and nothing stands behind the last one", () => {
    expect(
      formatTable(
        columns,
        [
          ["1", "long name", "n"],
          ["22", "x", ""],
        ],
        Infinity,
      ),
    ).toBe(["ID  NAME       NOTE", "1   long name  n", "22  x"].join("\n"));
  });

  test("an id is never cut, whatever the width; without a width nothing is", () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 200 }), (cells, width) => {
        const narrow = formatTable(columns, cells, width);
        for (const [id] of cells) expect(narrow).toContain(id);
        const wide = formatTable(columns, cells, Infinity);
        for (const text of cells.flat()) expect(wide).toContain(text);
      }),
    );
  });

  test("a table fits the width as long as the columns that may be cut have something to give", () => {
    fc.assert(
      fc.property(fc.integer({ min: 12 + 2 + 6 + 2 + 6, max: 120 }), (width) => {
        const lines = formatTable(columns, [["x".repeat(12), "y".repeat(50), "z".repeat(70)]], width).split("\n");
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
      }),
    );
  });
});

describe("failures", () => {
  test.each(Object.entries(failureCodes))("%s has its exit code, and says what it was given", (code, { exit }) => {
    const error = new OpenClawError(codeOf(code), "it broke", {
      hint: "mend it",
      fix: "openclaw mend",
      details: { n: 1 },
    });
    const { exitCode, error: shown, lines } = describeFailure(error);
    expect(exitCode).toBe(exitCodes[exit]);
    expect(exitCode).not.toBe(0);
    expect(shown).toEqual({ code, message: "it broke", hint: "mend it", fix: "openclaw mend", details: { n: 1 } });
    expect(lines).toEqual(["openclaw: it broke", "hint: mend it", "fix: openclaw mend"]);
  });

  test.each([new TypeError("x is not a function"), "a string", undefined, null, { some: "object" }])(
    "%o is a bug of ours",
    (thrown) => {
      expect(describeFailure(thrown)).toMatchObject({ exitCode: 1, error: { code: "internal" } });
    },
  );

  test("stacks show with debug only, with their causes", () => {
    const thrown = new OpenClawError("failed", "outer", { cause: new Error("inner") });
    expect(describeFailure(thrown).lines.join("\n")).not.toContain("inner");
    expect(describeFailure(thrown, true).lines.join("\n")).toMatch(/caused by: Error: inner\n/u);
  });

  test.each([
    [{ retryAfterMs: 298_400 }, undefined, ["openclaw: wait", "hint: try again in 4m59s"]],
    [{ retryAfterMs: 1 }, "check it", ["openclaw: wait", "hint: check it; try again in 1s"]],
    [{}, undefined, ["openclaw: wait"]],
  ])("who has to wait reads for how long: %j", (details, hint, lines) => {
    expect(describeFailure(new OpenClawError("rate-limited", "wait", { hint, details })).lines).toEqual(lines);
  });

  test("a secret in the details shows as one", () => {
    const { error } = describeFailure(new OpenClawError("failed", "x", { details: { token: new Secret("hush") } }));
    expect(JSON.stringify(error)).not.toContain("hush");
  });
});

test.each<[atMs: number | undefined, text: string]>([
  [undefined, "never"],
  [100_000, "0 s ago"],
  [41_000, "59 s ago"],
  [40_000, "1 min ago"],
  [100_000 - 3_600_000, "1 h ago"],
  [100_000 - 3 * 86_400_000, "3 d ago"],
  [200_000, "0 s ago"],
])("%s is %s", (atMs, text) => {
  expect(ago(atMs, 100_000)).toBe(text);
});

test("a log line is one line, whatever a peer sends", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      const line = textLog(0, "warn", "refused", { userAgent: value });
      expect(line.startsWith("1970-01-01T00:00:00.000Z warn refused userAgent=")).toBe(true);
      // eslint-disable-next-line no-control-regex
      expect(line).not.toMatch(/[\u0000-\u001f]/u);
    }),
  );
});

function codeOf(code: string): keyof typeof failureCodes {
  const found = Object.keys(failureCodes).find((known): known is keyof typeof failureCodes => known === code);
  if (found === undefined) throw new Error(`no such code: ${code}`);
  return found;
}

test("what another machine calls itself does not steer this terminal", () => {
  const table = formatTable([{ title: "NAME" }], [["\u001b[31mred\u001b[0m\nFAKE\u202e"]], Infinity);
  expect(table.split("\n")).toEqual(["NAME", "\\u{1b}[31mred\\u{1b}[0m\\u{a}FAKE\\u{202e}"]);
});
