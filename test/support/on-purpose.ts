/** For the few tests that make our own code send what the schemas do not allow, such as parameters that a person typed. */

const announced = new Set<string>();

/** Says what the rest of this test's frames will show, as `frame-check.ts` words it, and why. What does not happen then fails the test too. */
export function deviatesOnPurpose(deviations: Readonly<Record<string, string>>): void {
  for (const what of Object.keys(deviations)) announced.add(what);
}

/** What was announced since the last call. */
export function takeAnnounced(): ReadonlySet<string> {
  const taken = new Set(announced);
  announced.clear();
  return taken;
}
