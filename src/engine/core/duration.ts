/** Durations as ISO 8601 writes them, without years and months: those have no length of their own. */

const unitsMs = { W: 604_800_000, D: 86_400_000, H: 3_600_000, M: 60_000, S: 1_000 } as const;

/** `P30D`, `PT1S`, `P1DT12H` in milliseconds; undefined when the text is not such a duration. */
export function durationMs(text: string): number | undefined {
  const match = /^P(?:(\d+)W|(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?)$/.exec(text);
  if (match === null || text === "P") return undefined;
  const [, weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = match;
  return (
    Number(weeks) * unitsMs.W +
    Number(days) * unitsMs.D +
    Number(hours) * unitsMs.H +
    Number(minutes) * unitsMs.M +
    Math.round(Number(seconds) * unitsMs.S)
  );
}
