Rails.application.routes.draw do
  root "posts#index"

  resources :posts do
    resources :comments, only: :create
  end
  resources :attachments, only: :show

  resource :session, only: %i[new create destroy]

  get "highlights", to: "highlights#show"

  get "live", to: "live#show"
  get "live/stream", to: "streams#show", as: :live_stream

  namespace :api, defaults: { format: :json } do
    resources :posts, only: %i[index show create]
  end
end
