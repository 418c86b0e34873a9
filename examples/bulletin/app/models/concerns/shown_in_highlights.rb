# The cached highlights page goes whenever something on it changes, whoever changes it: a form, the API, the console, the seeds.
module ShownInHighlights
  extend ActiveSupport::Concern

  included do
    after_commit { HighlightsController.expire }
  end
end
