// A filter: earthquakes of at least min_magnitude pass.
import { Event, Instance, Out, Outcome, deadLetterBecause, handleOpen } from "wasmill";

let minMagnitude: f64 = 0;

handleOpen(
  (instance: Instance): void => {
    minMagnitude = instance.float("min_magnitude", 4.5);
  },
  (e: Event, out: Out): Outcome => {
    const mag = e.find("/properties/mag");
    if (!mag.isFloat) return deadLetterBecause("no magnitude");
    if (mag.float() < minMagnitude) return Outcome.Drop;
    out.pass();
    return Outcome.Done;
  },
);
