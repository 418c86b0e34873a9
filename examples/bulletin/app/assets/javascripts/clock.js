// The page "Live": reads server-sent events. EventSource reconnects by itself when a stream has ended.
(function () {
  "use strict";

  var clock = document.querySelector("[data-clock]");
  if (!clock) return;

  function part(name) { return clock.querySelector("[data-clock-" + name + "]"); }

  var events = new EventSource(clock.dataset.clock);

  events.addEventListener("tick", function (event) {
    var tick = JSON.parse(event.data);
    part("time").textContent = tick.time;
    part("posts").textContent = tick.posts;
    part("comments").textContent = tick.comments;
    part("pid").textContent = tick.pid;
    part("state").textContent = "Connected, event " + event.lastEventId + " of this stream";
    if (tick.latest) {
      var link = document.createElement("a");
      link.href = tick.latest.url;
      link.textContent = tick.latest.title;
      part("latest").replaceChildren("Last comment: " + tick.latest.author + " on ", link);
    }
  });

  events.onerror = function () { part("state").textContent = "Reconnecting …"; };

  // A page that is left must not keep its stream, nor the thread of the server behind it.
  window.addEventListener("pagehide", function () { events.close(); });
})();
