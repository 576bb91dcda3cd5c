/** Fair comparisons on a machine that others use too: everything takes turns, and medians are compared. */

/** Runs every candidate once a round, in turn, and gives the results of each. The first round warms up and is not kept. */
export async function takeTurns<Name extends string, Result>(
  rounds: number,
  candidates: Readonly<Record<Name, () => Promise<Result>>>,
): Promise<ReadonlyMap<Name, readonly Result[]>> {
  const names = Object.keys(candidates) as Name[]; // what Object.keys of this very record gives
  const results = new Map<Name, Result[]>(names.map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const name of names) {
      const result = await candidates[name]();
      if (round > 0) results.get(name)?.push(result);
    }
  }
  return results;
}

/** The middle one, or the mean of the two in the middle. Fails on an empty list. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError("the median of nothing");
  return (lower + upper) / 2;
}
