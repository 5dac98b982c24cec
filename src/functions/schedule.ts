import { app } from "@azure/functions";
import { authLevel } from "../api/access.ts";
import { scheduleChangeSchema } from "../api/requests.ts";
import { answering, body, callerOf, json, triggerOf } from "../api/responses.ts";
import { engine, settings } from "../composition.ts";
import { Scheduler } from "../engine/scheduler.ts";

const scheduler = new Scheduler(engine, settings.cycleSchedule);

app.http("getSchedule", {
  methods: ["GET"],
  authLevel,
  route: "schedule",
  handler: answering(async () => json(await scheduler.state())),
});

app.http("changeSchedule", {
  methods: ["PUT"],
  authLevel,
  route: "schedule",
  handler: answering(async (request) => {
    const { suspended } = await body(request, scheduleChangeSchema);
    // A function key says nothing of who holds it; then at least the way in is known.
    return json(await scheduler.setSuspended(suspended, callerOf(request) ?? triggerOf(request)));
  }),
});
