/** OpenSSH's patterns (ssh_config(5), PATTERNS): `*`, `?`, and lists of them with negation. */

/** `*` stands for any run of characters, `?` for one. Linear in practice: it backs up only to the last `*`. */
function matchesPattern(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  let index = 0;
  while (index < text.length) {
    if (pattern[at] === "*") {
      star = at++;
      resume = index;
    } else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === text[index])) {
      at++;
      index++;
    } else if (star !== -1) {
      at = star + 1;
      index = ++resume;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/** Whether some pattern matches and none of those that begin with `!` does. */
export function matchesPatterns(patterns: readonly string[], text: string): boolean {
  const hit = (pattern: string) => matchesPattern(pattern, text);
  return patterns.some(hit) && !patterns.some((pattern) => pattern.startsWith("!") && hit(pattern.slice(1)));
}
