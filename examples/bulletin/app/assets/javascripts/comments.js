// Shows the comments that others write while the page is open.
(function () {
  "use strict";

  var list = document.querySelector("[data-comments]");
  if (!list) return;

  var state = document.querySelector("[data-live-state]");

  function add(comment) {
    if (document.getElementById("comment_" + comment.id)) return;
    list.insertAdjacentHTML("beforeend", comment.html);
    list.lastElementChild.classList.add("fresh");
  }

  ActionCable.createConsumer("/cable").subscriptions.create(
    { channel: "CommentsChannel", post_id: list.dataset.comments },
    {
      connected: function () { state.hidden = false; },
      disconnected: function () { state.hidden = true; },
      received: add
    }
  );
})();
