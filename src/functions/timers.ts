import { app } from "@azure/functions";
import { engine, settings, tellExpiring } from "../composition.ts";
import { Retention } from "../engine/retention.ts";

const retention = new Retention(engine, settings.retention);

// Once per schedule; if another run is open the cycle waits for it, at most one does.
app.timer("cycleTimer", {
  schedule: process.env.CYCLE_SCHEDULE === undefined ? settings.cycleSchedule : "%CYCLE_SCHEDULE%",
  handler: async (_timer, context) => context.log(await engine.onTimer()),
});

// Every minute: sends again what somebody should have worked on long ago, and looks at what ends soon.
app.timer("watchdogTimer", {
  schedule: process.env.WATCHDOG_SCHEDULE === undefined ? settings.watchdogSchedule : "%WATCHDOG_SCHEDULE%",
  handler: async (_timer, context) => {
    tellExpiring();
    for (const woken of await engine.watch()) context.warn(`sent again: ${woken}`);
    const cleaned = await retention.clean();
    if (cleaned !== null) context.log("what is kept no longer", cleaned);
  },
});
