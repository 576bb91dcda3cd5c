/** docs/compatibility.md, out of what the scenarios showed. */

export interface ScenarioResult {
  readonly version: string;
  readonly direction: string;
  readonly scenario: string;
  /** How the test ended; "no" when it showed that this version cannot do it, and that our program says so: `context.annotate(…, "no")`. */
  readonly state: string;
  /** What a scenario found out that a yes does not say: `context.annotate(…)`. */
  readonly note?: string;
}

const symbols: Readonly<Record<string, string>> = {
  passed: "works",
  no: "no",
  failed: "FAILS",
  skipped: "—",
  pending: "—",
};

/** The page: for each direction a table of scenarios against versions, and the notes below. */
export function compatibilityTable(results: readonly ScenarioResult[]): string {
  const versions = unique(results.map(({ version }) => version));
  const parts = unique(results.map(({ direction }) => direction))
    .toSorted()
    .map((direction) =>
      directionPart(
        direction,
        versions,
        results.filter((result) => result.direction === direction),
      ),
    );
  const head =
    "# Compatibility with the OpenClaw product\n\n" +
    "What `npm run interop -- --report` saw with the real programs. Every line is a scenario of `test/interop/`. *no* is what a version\n" +
    "cannot do: there the scenario shows that our program says so.\n";
  return `${head}\n${parts.join("\n")}`;
}

function directionPart(direction: string, versions: readonly string[], results: readonly ScenarioResult[]): string {
  const notes: string[] = [];
  const cell = (scenario: string, version: string) => {
    const result = results.find((one) => one.scenario === scenario && one.version === version);
    if (result === undefined) return "—";
    const said = symbols[result.state] ?? result.state;
    if (result.note === undefined) return said;
    if (!notes.includes(result.note)) notes.push(result.note);
    return `${said} (${notes.indexOf(result.note) + 1})`;
  };
  const rows = unique(results.map(({ scenario }) => scenario)).map(
    (scenario) => `| ${[scenario, ...versions.map((version) => cell(scenario, version))].join(" | ")} |`,
  );
  const title = `| scenario | ${versions.join(" | ")} |\n| --- |${" --- |".repeat(versions.length)}`;
  const below = notes.map((note, index) => `${index + 1}. ${note}`).join("\n");
  return `## ${direction}\n\n${title}\n${rows.join("\n")}\n${below === "" ? "" : `\n${below}\n`}`;
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}
