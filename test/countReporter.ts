import type { Reporter, TestModule } from "vitest/node";

/**
 * Prints the count of all tests as the last line, alone: `N passed, N failed, N skipped`. A file that could not be
 * loaded counts as a failure. Reasons of skipped tests stand in their names, so they are listed before it.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const skipped: string[] = [];
    for (const module of modules) {
      let own = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") counts.passed++;
        else if (result.state === "skipped") {
          counts.skipped++;
          const reason = result.note === undefined ? "" : ` (${result.note})`;
          skipped.push(`${module.relativeModuleId}: ${test.fullName}${reason}`);
        } else {
          counts.failed++;
          own++;
        }
      }
      if (own === 0 && module.state() === "failed") counts.failed++;
    }
    for (const name of skipped) console.log(`skipped: ${name}`);
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}
